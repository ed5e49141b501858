// What c10d's ProcessGroupGloo.hpp names of Gloo's context: it only holds pointers to it and, in an
// inline function that nobody here calls, sets its timeout.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

} // namespace gloo

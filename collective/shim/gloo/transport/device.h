// What c10d's ProcessGroupGloo.hpp names of Gloo's transport: it only holds pointers to these.
#pragma once

namespace gloo::transport {

class Device;

// Complete, since an inline destructor deletes one; nothing here ever makes one.
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};

} // namespace gloo::transport

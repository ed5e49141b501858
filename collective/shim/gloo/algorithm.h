// Named by c10d's ProcessGroupGloo.hpp, which uses nothing of it.
#pragma once

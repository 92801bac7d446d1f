//! Windows' virtual-memory calls for C and C++ programs on Linux.

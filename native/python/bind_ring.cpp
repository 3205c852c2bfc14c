#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_ring(nb::module_ &) {}

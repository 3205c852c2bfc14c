#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_beads(nb::module_ &) {}

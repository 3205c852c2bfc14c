#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_synth(nb::module_ &) {}

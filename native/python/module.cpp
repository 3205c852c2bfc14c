#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_ring(nb::module_ &m);
void bind_synth(nb::module_ &m);
void bind_beads(nb::module_ &m);

NB_MODULE(_core, m) {
    m.doc() = "The C++ core of marey: ring, wake-ups, bead kernels, frame synthesis.";
    bind_ring(m);
    bind_synth(m);
    bind_beads(m);
}

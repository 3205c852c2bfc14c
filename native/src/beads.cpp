// beads

"""The figures of the GALA paper, repeated: one module a figure, described in docs/paper.md."""

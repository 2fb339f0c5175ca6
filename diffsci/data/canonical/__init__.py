"""The canonical form: axes, times, levels, units and grids by what they mean, never by position."""

"""How well machines read and hear the challenges, ours and those of others."""

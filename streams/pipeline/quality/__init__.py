"""Live quality: what humans say of what was decided, kept as counts that can be added, taken back and looked at as often as one likes. Pure."""

"""What flows, why, and how well, seen from outside: one read model of the fleet, fed from topics, for terminal, browser and JSON."""

"""Real hosts in network namespaces, and what networks do to them."""

"""Where to live: topology, resources, repulsion, attraction, choice."""

"""Who lives: hosts, colonies and links, as pure machines and thin bodies."""

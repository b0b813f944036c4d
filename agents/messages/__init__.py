"""What hosts and clients say to each other: validated wire structs."""

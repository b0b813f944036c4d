"""Tests of the agents: machines in virtual time, shells with real sockets."""

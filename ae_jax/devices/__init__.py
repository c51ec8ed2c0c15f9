"""The devices a program runs on: their names, memory, mesh, and how programs are compiled."""

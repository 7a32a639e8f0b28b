"""The commands, a module for each family; what several of them share is one folder up."""

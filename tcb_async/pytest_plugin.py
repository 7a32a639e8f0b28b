"""Fixtures for people who test their own code against the emulator."""

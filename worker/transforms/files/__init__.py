"""What file tasks do with one file: spooling, sniffing, reading, making other files of it."""

//! A fake Redis: its data, the commands that the programs use, and the Lua that ships, run by a real Lua 5.1.

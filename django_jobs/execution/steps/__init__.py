"""What a function keeps over the attempts of its run: steps, loops, waits. See `RunContext`."""

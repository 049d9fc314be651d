"""What the monitor costs, measured: `monitor bench`.

Every ratio is taken side by side in one run: the two things that it compares take turns, and of each the best turn
counts, so that whatever else the machine does for a while meets both. Costs are CPU seconds, not wall seconds, for
a shared machine changes the latter. The daemon is a real one, its senders and clients are processes of their own.
"""

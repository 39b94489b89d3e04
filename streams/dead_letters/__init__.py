"""Records that were set aside: how a dead letter looks, how letters are read from outside, and how they are put back."""

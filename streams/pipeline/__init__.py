"""The way of a record from intake to decision. Pure: no client, no clock but the one passed in."""

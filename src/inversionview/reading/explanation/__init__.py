"""What the members of a preimage have in common, as a rule over features: found on some of them, scored on others."""

"""What the site and its check have to agree on."""

#: Submissions in a minute, of all workers together, above which the rule engages.
ABOVE = 12

"""Templates and style of the pages, one file a part; a site can replace each of them."""

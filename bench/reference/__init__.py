"""What ours is measured against: the least that anybody would write with the same libraries, as it comes."""

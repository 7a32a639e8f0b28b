"""Walk an offset/limit list completely; knows no HTTP and no WeChat."""

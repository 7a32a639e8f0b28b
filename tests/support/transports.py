"""The transport of a client: the one private part that tests reach into."""


def transport_of(client):
    """Return a client's transport, to replace its timing, or to read its limit and its session."""
    return client._transport

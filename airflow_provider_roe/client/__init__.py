"""How a call to Roe is made: the connection, when to try again, and HTTP, blocking and on an event loop."""

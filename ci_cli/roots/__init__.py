"""Where the rooms are put together. Only these modules import the server and the controller, and only when called."""

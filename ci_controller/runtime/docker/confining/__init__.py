"""What holds the containers of jobs back: rights and limits, and the network that they are on."""

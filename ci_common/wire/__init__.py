"""What goes over HTTP besides `Spec`: requests, answers, and the events of streams."""

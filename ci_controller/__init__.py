"""Makes the facts follow the wishes: looks at jobs and containers, and takes the one next step of each."""

"""Features and decisions over HTTP: the serving application, its bandit and its experiments."""

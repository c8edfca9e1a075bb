"""What dualpath needs from the machine: a Java, a Redis, and a look at both."""

"""Where payloads come from: files in a landing folder, topics of Kafka."""

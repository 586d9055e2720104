"""Speed and accuracy against peers; each module prints its table and is run by one make target."""

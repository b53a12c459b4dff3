"""The instrument on maps whose information is known."""

"""Tables, claims and controls of a study."""

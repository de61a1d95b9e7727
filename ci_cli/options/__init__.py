"""What several commands share: types of their parameters, their options, and what these mean."""

"""The meeting table: where the API's wishes and the controller's facts are kept."""

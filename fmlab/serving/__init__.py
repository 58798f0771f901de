"""What a trained run is used for: scores of rows (`predict`), items for users (`recommend`), plain files (`export`)."""

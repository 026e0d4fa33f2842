"""What people look at: stick figures, video files and the HTML report."""

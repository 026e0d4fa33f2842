"""From pictures to keypoints: detection, tracking, several views."""

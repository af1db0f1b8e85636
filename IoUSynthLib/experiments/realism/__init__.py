"""How close simulated ultrasound is to real ultrasound."""

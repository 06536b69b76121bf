"""What honest clients and thieves would pay, simulated from the costs that `measures` recorded."""

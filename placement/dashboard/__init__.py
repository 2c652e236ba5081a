"""What the dashboard shows: a fleet's history, folded into a bounded board; time attributed; told to who watches."""

"""dicomseg"""

"""Everything about predicting from pixels; knows neither Ray nor HTTP."""
